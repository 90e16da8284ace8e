import { beforeEach, expect, it } from 'vitest'
import { keepPendingToken, takePendingToken, tokenOfHash } from '@/components/sharing/shareToken'

const TOKEN = 'AaIp9YzhdmGOjp06gMygvOKmbJjc0Ll5bQK7XoOcj-ARGoHU8z3su-7-aCRcIZuD'

beforeEach(() => sessionStorage.clear())

it.each([
    [`#token=${TOKEN}`, TOKEN],
    [`#a=b&token=${TOKEN}`, TOKEN],
    ['', null],
    ['#token=', null],
    ['#token=short', null],
    ['#token=../../../api/v1/auth/me-and-more', null],
    [`#token=${'a'.repeat(300)}`, null],
])('reads %s', (hash, token) => {
    expect(tokenOfHash(hash)).toBe(token)
})

it('keeps a token once', () => {
    keepPendingToken(TOKEN)
    expect(takePendingToken()).toBe(TOKEN)
    expect(takePendingToken()).toBeNull()
})
