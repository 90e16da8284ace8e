// Import of conversations from a file: checks before the upload, the upload, and the progress at the service.

import { authorizedFetch } from '@/api/authorizedFetch'
import { getImport, type ImportResponse } from '@/api/generated/chat'
import { ApiError } from '@/api/problem'

const POLL_INTERVAL = 1000

export type FileFault = 'empty' | 'tooLarge' | 'archive' | 'notJson'

/** Return why a file cannot be imported, without reading all of it; null if it may be right. */
export async function faultOf(file: Blob, limit: number): Promise<FileFault | null> {
    if (file.size === 0) return 'empty'
    const start = (await file.slice(0, 256).text()).replace(/^\uFEFF/, '').trimStart()
    // A ChatGPT export is a ZIP file, in which conversations.json is.
    if (start.startsWith('PK')) return 'archive'
    if (start !== '' && !/^[[{]/.test(start)) return 'notJson'
    return file.size > limit ? 'tooLarge' : null
}

/**
 * Upload a file and follow its import to the end.
 *
 * @param onProgress is called with each state. While the file is uploaded, there is none.
 * @throws ApiError if the service refuses the file. The import goes on at the service if the connection is lost.
 */
export async function importFile(file: Blob, onProgress: (state: ImportResponse) => void): Promise<ImportResponse> {
    const headers = { 'Content-Type': 'application/json' }
    const response = await authorizedFetch(
        '/api/v1/chat/import',
        { method: 'POST', body: file, headers },
        { unlimited: true },
    )
    let state = (await response.json()) as ImportResponse
    onProgress(state)
    while (state.status === 'running') {
        await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL))
        state = (await readState(state.import_id)) ?? state
        onProgress(state)
    }
    return state
}

/** Return the state of an import; null if the service cannot be asked at the moment. */
async function readState(importId: string): Promise<ImportResponse | null> {
    try {
        return await getImport({ path: { import_id: importId } })
    } catch (error) {
        if (error instanceof ApiError && error.isTransient) return null
        throw error
    }
}
