// Settings of a chat, and the context of a session in which the service keeps them.
//
// The service reads `tone`, `language` and `system_prompt`. It stores other fields as they are: `temperature` and
// `max_tokens` are this application's, which sends them with each question.

export interface ChatSettings {
    tone: 'professional' | 'casual' | null
    /** Language to answer in, as a tag of BCP 47. Null: the model decides. */
    language: string | null
    /** Additional instructions. Empty: none. */
    systemPrompt: string
    /** 0 to 2. Null: the default of the service. */
    temperature: number | null
    /** Maximum number of tokens of an answer. Null: the default of the service. */
    maxTokens: number | null
}

export type Context = Record<string, unknown>

export const DEFAULT_SETTINGS: ChatSettings = {
    tone: null,
    language: null,
    systemPrompt: '',
    temperature: null,
    maxTokens: null,
}

/** Bytes of JSON that a context may have. */
export const MAX_CONTEXT_BYTES = 8192
const MAX_TEMPERATURE = 2
const OWN_FIELDS = ['tone', 'language', 'system_prompt', 'temperature', 'max_tokens']

/** Return the settings in a context; the default for each that is missing or invalid. */
export function settingsOf(context: Context): ChatSettings {
    const { tone, language, system_prompt: systemPrompt, temperature, max_tokens: maxTokens } = context
    return {
        tone: tone === 'professional' || tone === 'casual' ? tone : null,
        language: typeof language === 'string' ? language : null,
        systemPrompt: typeof systemPrompt === 'string' ? systemPrompt : '',
        temperature:
            typeof temperature === 'number' && temperature >= 0 && temperature <= MAX_TEMPERATURE ? temperature : null,
        maxTokens: typeof maxTokens === 'number' && Number.isInteger(maxTokens) && maxTokens > 0 ? maxTokens : null,
    }
}

/** Return a context with changed settings. Fields of other clients stay. */
export function contextWith(context: Context, settings: ChatSettings): Context {
    const others = Object.entries(context).filter(([name]) => !OWN_FIELDS.includes(name))
    const systemPrompt = settings.systemPrompt.trim()
    const own: Context = {
        tone: settings.tone,
        language: settings.language,
        system_prompt: systemPrompt === '' ? null : systemPrompt,
        temperature: settings.temperature,
        max_tokens: settings.maxTokens,
    }
    return Object.fromEntries([...others, ...Object.entries(own).filter(([, value]) => value !== null)])
}

/** Return the size of a context as the service measures it. */
export function contextBytes(context: Context): number {
    // Python's JSON has a space after each comma and colon; this counts those of the top level, where the texts are.
    return new TextEncoder().encode(JSON.stringify(context)).length + 2 * Object.keys(context).length
}

/** Return how many settings differ from the defaults. */
export function changedSettings(settings: ChatSettings): number {
    const names = Object.keys(DEFAULT_SETTINGS) as (keyof ChatSettings)[]
    return names.filter((name) => settings[name] !== DEFAULT_SETTINGS[name]).length
}
