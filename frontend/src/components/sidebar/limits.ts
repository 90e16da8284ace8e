// Limits of the service for what is typed here. It refuses longer texts.

/** Characters of a title. */
export const TITLE_LENGTH = 200
export const MAX_TAGS = 20
/** Characters of a tag. */
export const TAG_LENGTH = 50
