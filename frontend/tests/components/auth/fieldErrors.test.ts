import { expect, it } from 'vitest'
import { ApiError } from '@/api/problem'
import { fieldErrorsOf } from '@/components/auth/fieldErrors'

const fields = ['email', 'username']

function problem(code: string, field: string) {
    return new ApiError({ status: 422, code, errors: [{ field, code: 'string_too_short', message: '' }] })
}

it('assigns violated rules to their fields', () => {
    expect(fieldErrorsOf(problem('validation_error', 'body.username'), fields)).toEqual({
        username: 'string_too_short',
    })
})

it('names the problem where it is more than a violated rule', () => {
    expect(fieldErrorsOf(problem('already_registered', 'body.email'), fields)).toEqual({ email: 'already_registered' })
})

it('assigns errors by their code', () => {
    const error = new ApiError({ status: 400, code: 'wrong_password' })
    expect(fieldErrorsOf(error, ['password'], { wrong_password: 'password' })).toEqual({ password: 'wrong_password' })
})

it.each([problem('validation_error', 'body.invitation'), new ApiError({ code: 'network_error' }), new Error('bug')])(
    'assigns no field to %s',
    (error) => {
        expect(fieldErrorsOf(error, fields)).toEqual({})
    },
)
