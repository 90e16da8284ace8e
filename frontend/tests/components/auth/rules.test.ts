import { expect, it } from 'vitest'
import { checkEmail, checkNewPassword, checkUsername } from '@/components/auth/rules'

const rules = {
    password: { min_length: 8, max_length: 256 },
    username: { min_length: 3, max_length: 50, pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$' },
}

it.each([
    ['', 'missing'],
    ['   ', 'missing'],
    ['a', 'invalid'],
    ['a@', 'invalid'],
    ['a@b@c', 'invalid'],
    [' ana@example.com ', null],
    ['ünal@exämple.com', null],
])('checks the address %j', (email, problem) => {
    expect(checkEmail(email)).toBe(problem)
})

it.each([
    ['', 'missing'],
    ['an', 'invalid'],
    ['.ana', 'invalid'],
    ['ana maria', 'invalid'],
    ['a'.repeat(51), 'invalid'],
    ['a.n-a_1', null],
])('checks the user name %j', (username, problem) => {
    expect(checkUsername(username, rules)).toBe(problem)
})

it.each([
    ['', 'missing'],
    ['1234567', 'invalid'],
    ['😀😀😀😀', 'invalid'],
    ['😀😀😀😀😀😀😀😀', null],
    ['x'.repeat(257), 'invalid'],
])('checks the password %j', (password, problem) => {
    expect(checkNewPassword(password, rules)).toBe(problem)
})

it('leaves the rules to the service until they are known', () => {
    expect(checkUsername('a', null)).toBeNull()
    expect(checkNewPassword('a', null)).toBeNull()
})
