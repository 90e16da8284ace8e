// Invisible characters, with which a text, a link or code can look like another one ("Trojan Source").
//
// Bidirectional embeddings, overrides and isolates (U+202A-202E, U+2066-2069) change the order of what is displayed;
// zero-width and tag characters hide text. Zero-width joiners (U+200C, U+200D) and direction marks (U+200E, U+200F,
// U+061C) belong to Arabic, Persian, Hebrew, Indic scripts and emoji, and cannot reorder Latin text.

const INVISIBLE =
    /\u00AD|\u115F|\u1160|\u17B4|\u17B5|\u180E|\u200B|[\u202A-\u202E\u2060-\u206F]|\u3164|\uFEFF|\uFFA0|[\uFFF9-\uFFFB]|[\u{E0000}-\u{E007F}]/gu
/** In code, where no script needs them, joiners and marks are shown as well. */
const INVISIBLE_IN_CODE = new RegExp(`${INVISIBLE.source}|\\u061C|\\u200C|\\u200D|\\u200E|\\u200F`, 'gu')
const SHOWN = '\uFFFD'

/** Return prose without invisible characters that can change how it reads. */
export function removeInvisible(text: string): string {
    return text.replace(INVISIBLE, '')
}

/** Return code in which invisible characters are replaced by U+FFFD. */
export function showInvisible(code: string): string {
    return code.replace(INVISIBLE_IN_CODE, SHOWN)
}
