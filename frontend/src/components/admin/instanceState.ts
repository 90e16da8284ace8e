// Statistics of a process. The service stores them as an object whose fields depend on the kind of process.

export interface InstanceFacts {
    pool: { inUse: number; free: number; max: number } | null
    /** null: the process does not use Redis. */
    redisIsAway: boolean | null
    redisOutages: number
    /** Numbers of running tasks by name: turns, streams and others. */
    running: { name: string; count: number }[]
    breakers: { model: string; state: string }[]
    /** Parameters that a model does not support; `replacement` is their other name, null if they are not sent. */
    changes: { model: string; parameter: string; replacement: string | null }[]
}

type Entry = Record<string, unknown>

function asObject(value: unknown): Entry | null {
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Entry) : null
}

export function instanceFacts(state: Entry): InstanceFacts {
    const database = asObject(state.database)
    const redis = asObject(state.redis)
    const webhooks = asObject(state.webhooks)
    const counts = Object.entries(state).filter((entry): entry is [string, number] => typeof entry[1] === 'number')
    if (typeof webhooks?.under_way === 'number') counts.push(['webhooks', webhooks.under_way])
    return {
        pool: database && {
            inUse: Number(database.in_use ?? 0),
            free: Number(database.free ?? 0),
            max: Number(database.max ?? 0),
        },
        redisIsAway: redis && redis.is_away === true,
        redisOutages: Number(redis?.outages ?? 0),
        running: counts.map(([name, count]) => ({ name, count })),
        breakers: Object.entries(asObject(state.models) ?? {}).map(([model, breaker]) => ({
            model,
            state: String(breaker),
        })),
        changes: Object.entries(asObject(state.model_parameters) ?? {}).flatMap(([model, parameters]) =>
            Object.entries(asObject(parameters) ?? {}).map(([parameter, replacement]) => ({
                model,
                parameter,
                replacement: typeof replacement === 'string' ? replacement : null,
            })),
        ),
    }
}
