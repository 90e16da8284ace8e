// Saves data as a file of the user, as a download.

/** After this time the browser has read the data, in milliseconds. */
const READ_TIME = 60_000

export function saveFile(data: Blob, name: string): void {
    const url = URL.createObjectURL(data)
    const link = document.createElement('a')
    link.href = url
    link.download = name
    link.click()
    setTimeout(() => URL.revokeObjectURL(url), READ_TIME)
}
