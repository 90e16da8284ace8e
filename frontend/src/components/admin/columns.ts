// Columns of a table: what they show and how they are sorted.

export interface Column<Row> {
    key: string
    label: string
    /** Value to sort by, and to show if there is no `format` and no slot `cell-<key>`. */
    value: (row: Row) => string | number | undefined
    format?: (row: Row) => string
    numeric?: boolean
    sortable?: boolean
}
