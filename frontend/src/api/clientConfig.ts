// Configuration of the generated clients of the three services.

import { authorizedFetch } from './authorizedFetch'

interface ClientOptions {
    fetch?: typeof fetch
    baseUrl?: string
}

/** Called by each generated client when it is created. */
export function createClientConfig<T extends ClientOptions>(config?: T): T {
    return {
        ...config,
        baseUrl: '',
        fetch: (input: RequestInfo | URL, init?: RequestInit) => authorizedFetch(input, init),
    } as T
}
