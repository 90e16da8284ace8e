import { expect, it } from 'vitest'
import { deviceOf } from '@/components/account/device'

const WEBKIT = 'AppleWebKit/537.36 (KHTML, like Gecko)'

it.each([
    [`Mozilla/5.0 (X11; Linux x86_64) ${WEBKIT} Chrome/140.0.0.0 Safari/537.36`, 'Chrome', 'Linux', false],
    [`Mozilla/5.0 (Windows NT 10.0; Win64) ${WEBKIT} Chrome/140.0 Safari/537.36 Edg/140.0`, 'Edge', 'Windows', false],
    ['Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0', 'Firefox', 'Android', true],
    [
        'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1 Version/18.0 Mobile/15E Safari/604.1',
        'Safari',
        'iPhone',
        true,
    ],
    ['curl/8.5.0', 'curl', null, false],
    ['python-httpx/0.28', 'python-httpx', null, false],
    ['Mozilla/5.0', null, null, false],
    ['', null, null, false],
    [null, null, null, false],
])('names %s', (userAgent, browser, system, isMobile) => {
    expect(deviceOf(userAgent)).toEqual({ browser, system, isMobile })
})
