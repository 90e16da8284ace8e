// Errors of a request, assigned to the fields of a form.

import { ApiError } from '@/api/problem'
import type { FieldProblems } from './rules'

/**
 * Return the code of the error for each field of a form; empty if the error is not about its fields alone.
 *
 * `codeFields` assigns errors that the service does not assign, by their code.
 */
export function fieldErrorsOf(
    error: unknown,
    fields: string[],
    codeFields: Record<string, string> = {},
): FieldProblems {
    if (!(error instanceof ApiError)) return {}
    const assigned = codeFields[error.code]
    if (assigned !== undefined) return { [assigned]: error.code }
    const problems = error.fields.map(({ field, code }) => [
        field.replace(/^body\./, ''),
        // The code of the problem says more than that of a rule that is not the schema's.
        error.code === 'validation_error' ? code : error.code,
    ])
    return problems.every(([field]) => fields.includes(field ?? '')) ? Object.fromEntries(problems) : {}
}
