// Destination after a login, which the address of the login page names.

/** Return a path of this origin; `/` for everything else, such as `https://…`, `//host` and `javascript:`. */
export function safePath(next: unknown): string {
    if (typeof next !== 'string' || !next.startsWith('/')) return '/'
    let url: URL
    try {
        // Resolved as a browser does, which ignores tabs and treats backslashes as slashes.
        url = new URL(next, location.origin)
    } catch {
        return '/'
    }
    if (url.origin !== location.origin || url.pathname.startsWith('//')) return '/'
    return url.pathname + url.search + url.hash
}
