// In-place update of DOM nodes.

/** Make the children of an element equal to those of a fragment, and keep nodes that are equal: selection and focus. */
export function morphChildren(parent: Node, wanted: Node): void {
    const targets = [...wanted.childNodes]
    targets.forEach((target, index) => {
        const current = parent.childNodes[index]
        if (!current) parent.appendChild(target)
        else morph(current, target)
    })
    while (parent.childNodes.length > targets.length) parent.lastChild?.remove()
}

function morph(current: ChildNode, target: ChildNode): void {
    if (current.isEqualNode(target)) return
    if (current instanceof Text && target instanceof Text) {
        current.data = target.data
    } else if (current instanceof Element && target instanceof Element && haveSameStart(current, target)) {
        morphChildren(current, target)
    } else {
        current.replaceWith(target)
    }
}

function haveSameStart(current: Element, target: Element): boolean {
    return current.cloneNode(false).isEqualNode(target.cloneNode(false))
}
