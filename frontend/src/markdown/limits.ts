// Limits that bound the time and memory which a hostile or very long text can take. Beyond them, text is shown as it is.

/** Characters of a text that are read as Markdown. What follows is shown as plain text. */
export const MAX_TEXT = 100_000
/** Characters that are split into blocks at a time. */
export const MAX_STEP = 20_000
/** Top-level blocks of a text. What follows is shown as plain text. */
export const MAX_BLOCKS = 2000
/** Characters of one block: a list, a table, a quote. Longer blocks are shown as plain text, longer code as code. */
export const MAX_BLOCK = 20_000
/** Parsed elements of one block, such as the cells of a table, which has three for each. */
export const MAX_TOKENS = 5000
/** Characters of one run of inline text: a paragraph, an item, a cell. The cost of some of its rules is quadratic. */
export const MAX_INLINE = 5000
/** Characters of code that is highlighted. */
export const MAX_HIGHLIGHTED = 12_000
/** Characters of one formula, and number of formulas in one block. */
export const MAX_FORMULA = 2000
export const MAX_FORMULAS = 100
/** Characters in one element of plain text. The browser lays out elements only when they come near the screen. */
export const PLAIN_CHUNK = 4000
