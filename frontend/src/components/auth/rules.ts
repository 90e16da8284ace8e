// Rules for new accounts, as the services apply them. They are checked here so that an error shows before a request.

import type { PublicConfig } from '@/api/generated/auth'

type Rules = Pick<PublicConfig, 'password' | 'username'>

/** The code of the violated rule for each wrong field. The code names the text of the error. */
export type FieldProblems = Record<string, string>

/** Return the code of the violated rule; null if the address may be valid. Only the service knows for certain. */
export function checkEmail(email: string): string | null {
    const value = email.trim()
    if (value === '') return 'missing'
    return /^[^@\s]+@[^@\s]+$/.test(value) ? null : 'invalid'
}

export function checkUsername(username: string, rules: Rules | null): string | null {
    if (username === '') return 'missing'
    if (!rules) return null
    const { min_length: min, max_length: max, pattern } = rules.username
    const matches = new RegExp(pattern, 'u').test(username)
    return matches && username.length >= min && username.length <= max ? null : 'invalid'
}

/** Check the length of a new password in characters as the service counts them, which are code points. */
export function checkNewPassword(password: string, rules: Rules | null): string | null {
    if (password === '') return 'missing'
    if (!rules) return null
    const length = [...password].length
    return length >= rules.password.min_length && length <= rules.password.max_length ? null : 'invalid'
}

export function checkPresent(value: string): string | null {
    return value === '' ? 'missing' : null
}
