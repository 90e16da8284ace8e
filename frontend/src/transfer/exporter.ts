// Export of conversations as files.

import { download } from './download'

export type ExportFormat = 'json' | 'md' | 'txt'

/** Save a conversation as a file. */
export function exportSession(sessionId: string, format: ExportFormat): Promise<void> {
    const fallbackName = `conversation.${format}`
    return download(`/api/v1/chat/sessions/${sessionId}/export`, { query: { format }, fallbackName })
}

/** Save all conversations as one file. */
export function exportAllSessions(format: ExportFormat, signal?: AbortSignal): Promise<void> {
    return download('/api/v1/chat/export', { query: { format }, fallbackName: `conversations.${format}`, signal })
}
