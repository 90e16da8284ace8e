// Random identifiers.

/** Return a random identifier of 128 bits. `crypto.randomUUID` exists on secure origins only. */
export function randomId(): string {
    return crypto.getRandomValues(new Uint32Array(4)).join('-')
}
