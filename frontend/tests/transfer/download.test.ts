import { expect, it } from 'vitest'
import { fileNameOf, withQuery } from '@/transfer/download'

it.each([
    [`attachment; filename="trip.json"`, 'trip.json'],
    [`attachment; filename="trip.json"; filename*=UTF-8''Reise%20%C3%BC.json`, 'Reise ü.json'],
    [`attachment; filename="a.md"; filename*=UTF-8''%E0%A4`, 'a.md'],
    [`attachment`, null],
    [null, null],
])('reads the name of %s', (header, name) => {
    expect(fileNameOf(header)).toBe(name)
})

it('leaves out parameters without a value', () => {
    const query = { from: 'a&b', to: undefined, limit: 0, search: '' }
    expect(withQuery('/usage.csv', query)).toBe('/usage.csv?from=a%26b&limit=0')
    expect(withQuery('/usage.csv', { to: undefined })).toBe('/usage.csv')
})
