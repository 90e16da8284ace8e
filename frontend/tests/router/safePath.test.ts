import { expect, it } from 'vitest'
import { safePath } from '@/router/safePath'

it.each(['/', '/c/1', '/admin/users?search=a%20b&page=2#top', '/c/%2f%2fevil.example'])('keeps %s', (path) => {
    expect(safePath(path)).toBe(path)
})

it.each([
    undefined,
    null,
    ['/c/1'],
    '',
    'c/1',
    '//evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    '/\t/evil.example',
    '/\n/evil.example',
    '/.//evil.example',
    'https://evil.example/',
    'javascript:alert(1)',
    ' //evil.example',
    '//[',
])('refuses %j', (next) => {
    expect(safePath(next)).toBe('/')
})
