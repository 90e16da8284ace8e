// Download of a file that only the logged-in user may read: a link cannot send the access token.

import { authorizedFetch } from '@/api/authorizedFetch'
import { errorOfException } from '@/api/problem'
import { saveFile } from './saveFile'

interface DownloadOptions {
    /** Parameters of the request. Those without a value are left out. */
    query?: Record<string, unknown>
    /** Name of the file if the service gives none; the last part of the path by default. */
    fallbackName?: string
    signal?: AbortSignal
}

/** Return the file name of a header `Content-Disposition`; null if it has none. */
export function fileNameOf(disposition: string | null): string | null {
    const [, encoded] = disposition?.match(/filename\*=UTF-8''([^;]+)/i) ?? []
    const [, plain] = disposition?.match(/filename="?([^";]+)"?/i) ?? []
    try {
        return encoded ? decodeURIComponent(encoded) : (plain ?? null)
    } catch {
        return plain ?? null
    }
}

/** Return a path with the parameters that have a value. */
export function withQuery(path: string, query: Record<string, unknown>): string {
    const entries = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '')
    if (entries.length === 0) return path
    return `${path}?${new URLSearchParams(entries.map(([name, value]) => [name, String(value)])).toString()}`
}

/**
 * Save a response of the service as a file, with the name that the service gives it.
 *
 * @throws ApiError if the service refuses, or the transfer breaks off: a part is not saved as if it were the whole.
 */
export async function download(path: string, options: DownloadOptions = {}): Promise<void> {
    const { query = {}, fallbackName = path.split('/').pop() ?? 'download', signal } = options
    const response = await authorizedFetch(withQuery(path, query), { signal }, { unlimited: true })
    saveFile(await readBlob(response), fileNameOf(response.headers.get('Content-Disposition')) ?? fallbackName)
}

async function readBlob(response: Response): Promise<Blob> {
    try {
        return await response.blob()
    } catch (exception) {
        throw errorOfException(exception)
    }
}
