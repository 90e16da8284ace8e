// Download of a file that only a logged-in user may fetch: a link would not send the access token.

import { authorizedFetch } from '@/api/authorizedFetch'

/** Return the file name in a header `Content-Disposition`, or else the fallback. */
export function fileNameOf(disposition: string | null, fallback: string): string {
    return /filename="([^"]+)"/.exec(disposition ?? '')?.[1] ?? fallback
}

/** Remove parameters without value and encode the others. */
export function encodeQuery(query: Record<string, unknown>): string {
    const entries = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '')
    return new URLSearchParams(entries.map(([name, value]) => [name, String(value)])).toString()
}

/**
 * Fetch a file and save it with the name that the service gives it.
 *
 * @throws ApiError if the service refuses the request.
 */
export async function download(path: string, query: Record<string, unknown> = {}): Promise<void> {
    const response = await authorizedFetch(`${path}?${encodeQuery(query)}`, {}, { unlimited: true })
    const url = URL.createObjectURL(await response.blob())
    const link = document.createElement('a')
    link.href = url
    link.download = fileNameOf(response.headers.get('Content-Disposition'), path.split('/').pop() ?? 'download')
    link.click()
    URL.revokeObjectURL(url)
}
