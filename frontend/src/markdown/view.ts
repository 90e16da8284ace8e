// Rendered Markdown in an element of the page. Only blocks that change are rendered, within a budget for each frame.

import type { Env } from 'markdown-it'
import { splitBlocks, type Block } from './blocks'
import { loadExtension, MATH } from './extensions'
import { MAX_STEP, MAX_TEXT } from './limits'
import { morphChildren } from './morph'
import { renderBlock, type MarkdownTexts } from './render'
import { nextFrame } from './scheduling'
import { withoutIncompleteEnd } from './streaming'

/** Milliseconds of rendering after which the browser gets time for other work. */
const BUDGET = 10
/** A growing block that takes long is rendered less often: it waits for this multiple of the time it took. */
const PAUSE_FACTOR = 3
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m

/**
 * A block on the page. It has no source of its own: a part of a JavaScript string keeps the whole string in memory, and
 * these would be all states of a growing text.
 */
interface RenderedBlock extends Pick<Block, 'start' | 'kind'> {
    end: number
    element: HTMLElement
    isCurrent: boolean
    missing: Set<string>
}

export class MarkdownView {
    private text = ''
    private wanted = ''
    private isStreaming = false
    private references: Env['references'] = {}
    /** Text whose link definitions were read. */
    private resolvedText = ''
    private blocks: RenderedBlock[] = []
    private isScheduled = false
    private isDestroyed = false
    private pauseUntil = 0

    constructor(
        private readonly root: HTMLElement,
        private texts: MarkdownTexts,
    ) {}

    /** Show a text: at once if it is complete, and at the next frame if it grows. */
    update(text: string, isStreaming: boolean): void {
        this.wanted = text.replace(/\r\n?/g, '\n')
        this.isStreaming = isStreaming
        if (isStreaming) this.schedule()
        else if (!this.isScheduled) this.run()
    }

    /** Change the words in the rendered text. */
    translate(texts: MarkdownTexts): void {
        this.texts = texts
        for (const block of this.blocks) block.isCurrent = false
        this.schedule()
    }

    destroy(): void {
        this.isDestroyed = true
    }

    private schedule(): void {
        if (this.isScheduled) return
        this.isScheduled = true
        void nextFrame(this.pauseUntil).then(() => {
            this.isScheduled = false
            if (!this.isDestroyed) this.run()
        })
    }

    private run(): void {
        const start = performance.now()
        if (this.isStreaming || this.isRendered()) this.split()
        for (const [index, block] of this.blocks.entries()) {
            if (block.isCurrent) continue
            this.render(block, index === this.blocks.length - 1)
            if (performance.now() - start > BUDGET) break
        }
        this.pauseUntil = this.isStreaming ? performance.now() + (performance.now() - start) * PAUSE_FACTOR : 0
        const isComplete = this.text === this.target() && (this.isStreaming || this.resolvedText === this.text)
        if (!isComplete || !this.isRendered()) this.schedule()
    }

    private isRendered(): boolean {
        return this.blocks.every(({ isCurrent }) => isCurrent)
    }

    /** Return the text to show now. */
    private target(): string {
        return this.isStreaming ? withoutIncompleteEnd(this.wanted) : this.wanted
    }

    /** Bring the list of blocks up to date with the text to show, or a part of it: a long text is read in steps. */
    private split(): void {
        const target = this.target()
        const isLonger = target.startsWith(this.text)
        const end = (isLonger ? this.text.length : 0) + MAX_STEP
        const part = end < Math.min(target.length, MAX_TEXT) ? target.slice(0, end) : target
        if (part !== this.text) {
            // More text may join the last block with the one before it.
            const kept = isLonger ? Math.max(0, this.blocks.length - 2) : 0
            this.replaceBlocks(kept, splitBlocks(part, this.blocks[kept]?.start ?? 0, kept))
            this.text = part
        }
        if (!this.isStreaming && part === target) this.resolveReferences()
    }

    /** Link definitions apply to the whole text, also to what precedes them: they are read when the text is complete. */
    private resolveReferences(): void {
        this.resolvedText = this.text
        if (!DEFINITION.test(this.text)) return
        const env: Env = {}
        splitBlocks(this.text, 0, 0, env)
        if (JSON.stringify(env.references ?? {}) === JSON.stringify(this.references)) return
        this.references = env.references ?? {}
        for (const block of this.blocks) if (this.sourceOf(block).includes('[')) block.isCurrent = false
    }

    private sourceOf({ start, end }: RenderedBlock): string {
        return this.text.slice(start, end)
    }

    /** Replace the blocks after the first `kept`. The present ones are parts of `this.text`. */
    private replaceBlocks(kept: number, blocks: Block[]): void {
        blocks.forEach(({ start, source, kind }, offset) => {
            const existing = this.blocks[kept + offset]
            const position = { start, end: start + source.length, kind }
            if (existing) {
                if (this.sourceOf(existing) !== source || existing.kind !== kind) existing.isCurrent = false
                Object.assign(existing, position)
            } else {
                this.blocks.push({ ...position, element: this.createElement(), isCurrent: false, missing: new Set() })
            }
        })
        for (const { element } of this.blocks.splice(kept + blocks.length)) element.remove()
    }

    private createElement(): HTMLElement {
        const element = document.createElement('div')
        element.className = 'markdown-block'
        element.dir = 'auto'
        return this.root.appendChild(element)
    }

    private render(block: RenderedBlock, isLast: boolean): void {
        const { content, missing } = renderBlock(
            { ...block, source: this.sourceOf(block) },
            this.texts,
            this.references,
        )
        if (isLast && this.isStreaming) morphChildren(block.element, content)
        else block.element.replaceChildren(content)
        block.isCurrent = true
        block.missing = missing
        for (const name of missing) void loadExtension(name).then(() => this.onExtension(name))
    }

    /** Render again what was waiting for an extension. Formulas also change where blocks begin. */
    private onExtension(name: string): void {
        if (this.isDestroyed) return
        const waiting = this.blocks.filter(({ missing }) => missing.delete(name))
        if (waiting.length === 0) return
        for (const block of waiting) block.isCurrent = false
        if (name === MATH) this.replaceBlocks(0, splitBlocks(this.text))
        this.schedule()
    }
}
