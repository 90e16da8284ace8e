// Download of a file that only the logged-in user may read: a link cannot send the access token.

import { authorizedFetch } from '@/api/authorizedFetch'
import { errorOfException } from '@/api/problem'

export type ExportFormat = 'json' | 'md' | 'txt'

/** Return the file name of a header `Content-Disposition`. */
export function fileNameOf(disposition: string | null): string | null {
    const [, encoded] = disposition?.match(/filename\*=UTF-8''([^;]+)/i) ?? []
    const [, plain] = disposition?.match(/filename="?([^";]+)"?/i) ?? []
    try {
        return encoded ? decodeURIComponent(encoded) : (plain ?? null)
    } catch {
        return plain ?? null
    }
}

/**
 * Save a response of the service as a file.
 *
 * @throws ApiError if the service refuses, or the transfer breaks off: a part is not saved as if it were the whole.
 */
export async function download(url: string, fallbackName: string, signal?: AbortSignal): Promise<void> {
    const response = await authorizedFetch(url, { signal }, { unlimited: true })
    saveBlob(await readBlob(response), fileNameOf(response.headers.get('Content-Disposition')) ?? fallbackName)
}

async function readBlob(response: Response): Promise<Blob> {
    try {
        return await response.blob()
    } catch (exception) {
        throw errorOfException(exception)
    }
}

function saveBlob(blob: Blob, name: string): void {
    const link = document.createElement('a')
    link.href = URL.createObjectURL(blob)
    link.download = name
    link.click()
    // Browsers start the download in the next task.
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

/** Save a conversation as a file. */
export function exportSession(sessionId: string, format: ExportFormat): Promise<void> {
    return download(`/api/v1/chat/sessions/${sessionId}/export?format=${format}`, `conversation.${format}`)
}

/** Save all conversations as one file. */
export function exportAllSessions(format: ExportFormat, signal?: AbortSignal): Promise<void> {
    return download(`/api/v1/chat/export?format=${format}`, `conversations.${format}`, signal)
}
