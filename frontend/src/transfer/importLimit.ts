// Size that the service accepts for a file to import.

import { authorizedFetch } from '@/api/authorizedFetch'

/** The default of the service, in bytes. Used if it cannot be asked: it checks the size itself too. */
const DEFAULT_LIMIT = 104_857_600

export async function readImportLimit(): Promise<number> {
    try {
        const response = await authorizedFetch('/api/v1/auth/config')
        const { limits } = (await response.json()) as { limits?: { import_bytes?: number } }
        return limits?.import_bytes ?? DEFAULT_LIMIT
    } catch {
        return DEFAULT_LIMIT
    }
}
