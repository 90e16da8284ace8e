import { expect, it } from 'vitest'
import { MAX_DRAFTS, MAX_TOTAL, parseDrafts, withDraft } from '@/stores/drafts'

it('keeps the newest draft first, one for each session', () => {
    const drafts = withDraft(withDraft(withDraft([], 'a', 'one'), 'b', 'two'), 'a', 'three')
    expect(drafts).toEqual([
        { session: 'a', text: 'three' },
        { session: 'b', text: 'two' },
    ])
})

it('removes a draft that became empty', () => {
    expect(withDraft([{ session: 'a', text: 'one' }], 'a', ' \n')).toEqual([])
})

it('drops the oldest drafts', () => {
    const many = Array.from({ length: MAX_DRAFTS }, (_, index) => ({ session: `${index}`, text: 'text' }))
    expect(withDraft(many, 'new', 'text').map(({ session }) => session)).toEqual([
        'new',
        ...many.slice(0, -1).map(({ session }) => session),
    ])
    const long = 'x'.repeat(MAX_TOTAL - 10)
    expect(withDraft([{ session: 'a', text: 'longer than ten' }], 'b', long)).toEqual([{ session: 'b', text: long }])
})

it.each([null, '', '{', '{}', 'null', '[null, 1, {"session": 1, "text": "x"}, {"session": "a"}]'])(
    'has no drafts in %j',
    (stored) => {
        expect(parseDrafts(stored)).toEqual([])
    },
)
