import { expect, it } from 'vitest'
import { SessionRegistry } from '@/stores/sessions/registry'
import { session } from './session'

const time = '2026-01-01T00:00:00Z'

function deferred<T>() {
    let resolve!: (value: T) => void
    let reject!: (reason: unknown) => void
    const promise = new Promise<T>((yes, no) => {
        resolve = yes
        reject = no
    })
    return { promise, resolve, reject }
}

it('shows a change at once, and then what the service has made of it', async () => {
    const registry = new SessionRegistry()
    registry.put([session('a', time)])
    const answer = deferred<{ tags: string[] }>()
    const change = registry.change(session('a', time), { tags: ['Work'] }, () => answer.promise)
    expect(registry.get('a')?.tags).toEqual(['Work'])
    answer.resolve({ tags: ['work'] })
    await change
    expect(registry.get('a')?.tags).toEqual(['work'])
})

it('takes a refused change back, and leaves other changes alone', async () => {
    const registry = new SessionRegistry()
    registry.put([session('a', time)])
    const title = deferred<{ title: string }>()
    const change = registry.change(session('a', time), { title: 'New' }, () => title.promise)
    await registry.change(session('a', time), { is_pinned: true }, async () => ({ is_pinned: true }))
    title.reject(new Error('refused'))
    await expect(change).rejects.toThrow('refused')
    expect(registry.get('a')).toMatchObject({ title: 'Title of a', is_pinned: true })
})

it('does not take back a field that was changed again meanwhile', async () => {
    const registry = new SessionRegistry()
    const first = deferred<{ title: string }>()
    const change = registry.change(session('a', time), { title: 'First' }, () => first.promise)
    await registry.change(session('a', time), { title: 'Second' }, async () => ({ title: 'Second' }))
    first.reject(new Error('refused'))
    await expect(change).rejects.toThrow()
    expect(registry.get('a')?.title).toBe('Second')
})

it('ignores a listed session while it is being changed', async () => {
    const registry = new SessionRegistry()
    registry.put([session('a', time)])
    const answer = deferred<{ title: string }>()
    const change = registry.change(session('a', time), { title: 'New' }, () => answer.promise)
    registry.put([session('a', time)])
    registry.forget(['a'])
    expect(registry.get('a')?.title).toBe('New')
    answer.resolve({ title: 'New' })
    await change
    expect(registry.get('a')?.title).toBe('New')
})

it('does not bring back a session that was deleted, unless the deletion failed', () => {
    const registry = new SessionRegistry()
    registry.put([session('a', time)])
    const removed = registry.remove(['a'])
    registry.put([session('a', time)])
    expect(registry.get('a')).toBeUndefined()
    registry.restore(['a'], removed)
    expect(registry.get('a')?.session_id).toBe('a')
})

it('removes characters from titles that reverse the text around them', () => {
    const registry = new SessionRegistry()
    registry.put([session('a', time, { title: '\u202Egnp.exe' })])
    expect(registry.get('a')?.title).toBe('gnp.exe')
    registry.patch('a', { title: 'one\u2066two' })
    expect(registry.get('a')?.title).toBe('onetwo')
})
