// What this browser keeps of an account outside its memory. The next person at this browser must not find it.

/** Drafts of each account, by its id, in the local storage. */
export const DRAFTS_PREFIX = 'drafts:'
/** The model chosen last, in the local storage. */
export const MODEL_KEY = 'model'
/** The question that a tab is sending, in its session storage. */
export const OUTGOING_KEY = 'outgoing-question'

/** Remove all of it, after a logout. */
export function removeBrowserData(): void {
    for (const name of Object.keys(localStorage)) if (name.startsWith(DRAFTS_PREFIX)) localStorage.removeItem(name)
    localStorage.removeItem(MODEL_KEY)
    sessionStorage.removeItem(OUTGOING_KEY)
}
