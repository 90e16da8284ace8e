import { describe, expect, it } from 'vitest'
import {
    changedSettings,
    contextBytes,
    contextWith,
    DEFAULT_SETTINGS,
    settingsOf,
    type ChatSettings,
} from '@/conversation/settings'

const CHANGED: ChatSettings = {
    tone: 'casual',
    language: 'pt-BR',
    systemPrompt: 'Be brief.',
    temperature: 0,
    maxTokens: 100,
}

describe('settings in a context', () => {
    it('are read as they were written', () => {
        expect(settingsOf(contextWith({}, CHANGED))).toEqual(CHANGED)
        expect(changedSettings(CHANGED)).toBe(5)
    })

    it('leave no fields if they are the defaults', () => {
        expect(contextWith(contextWith({}, CHANGED), DEFAULT_SETTINGS)).toEqual({})
        expect(contextWith({}, { ...DEFAULT_SETTINGS, systemPrompt: ' \n ' })).toEqual({})
    })

    it('leave the fields of other clients', () => {
        expect(contextWith({ customer: 7, tone: 'casual' }, DEFAULT_SETTINGS)).toEqual({ customer: 7 })
    })

    it.each([
        {},
        { tone: 'rude', language: 3, system_prompt: null, temperature: 9, max_tokens: -1 },
        { tone: null, temperature: '1', max_tokens: 1.5 },
    ])('are the defaults in %o', (context) => {
        expect(settingsOf(context)).toEqual(DEFAULT_SETTINGS)
    })

    it('are measured in bytes', () => {
        // len(json.dumps({"tone": "casual", "system_prompt": "é"}, ensure_ascii=False).encode())
        expect(contextBytes({ tone: 'casual', system_prompt: 'é' })).toBeGreaterThanOrEqual(41)
    })
})
