import { expect, it } from 'vitest'
import { fileNameOf } from '@/transfer/download'

it.each([
    [`attachment; filename="trip.json"`, 'trip.json'],
    [`attachment; filename="trip.json"; filename*=UTF-8''Reise%20%C3%BC.json`, 'Reise ü.json'],
    [`attachment; filename="a.md"; filename*=UTF-8''%E0%A4`, 'a.md'],
    [`attachment`, null],
    [null, null],
])('reads the name of %s', (header, name) => {
    expect(fileNameOf(header)).toBe(name)
})
