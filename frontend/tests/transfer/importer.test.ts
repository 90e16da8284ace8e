import { expect, it } from 'vitest'
import { faultOf } from '@/transfer/importer'

it.each([
    ['', 'empty'],
    ['PK\u0003\u0004zip', 'archive'],
    ['# Markdown', 'notJson'],
    ['{"format": 1}', null],
    ['\uFEFF [1]', null],
    [`{"a":"${'x'.repeat(2000)}"}`, 'tooLarge'],
])('checks %o', async (text, fault) => {
    expect(await faultOf(new Blob([text]), 1000)).toBe(fault)
})
