// The logged-in account: login, logout, profile, and preferences that are kept on the server.

import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { me, updatePreferences, type ErasureReceipt, type UserResponse } from '@/api/generated/auth'
import { ApiError } from '@/api/problem'
import * as tokens from '@/api/tokens'
import { removeBrowserData } from './browserData'
import { parsePreferences, preferencesUpdate, type Preferences } from './preferences'

export const useAccount = defineStore('account', () => {
    const user = ref<UserResponse | null>(null)
    const isAdmin = computed(() => user.value?.role === 'admin')
    const preferences = computed(() => parsePreferences(user.value?.preferences))
    /** Why the last session ended; null before, and after the next login. */
    const endReason = ref<tokens.EndReason | null>(null)
    /** Id of the account of the last session in this page. Its data may still be in other stores. */
    const lastUserId = ref<string | null>(null)
    /** Receipt of the erasure of the account, to be shown after it. */
    const erasure = ref<ErasureReceipt | null>(null)
    let restoring: Promise<void> | null = null
    let changes = 0

    /** Load the account if this browser is logged in. Transient failures are thrown. */
    async function restore(): Promise<void> {
        if (user.value !== null) return
        restoring ??= loadUser().finally(() => {
            restoring = null
        })
        await restoring
    }

    async function loadUser(): Promise<void> {
        if ((await tokens.accessToken()) === null) return
        try {
            user.value = await me()
        } catch (error) {
            // Not a failure if the session has ended.
            if (error instanceof ApiError && error.status === 401 && (await tokens.accessToken()) === null) return
            throw error
        }
        lastUserId.value ??= user.value.id
        endReason.value = null
    }

    async function logIn(username: string, password: string): Promise<void> {
        await tokens.logIn(username, password)
        await loadUser()
    }

    async function logOut(): Promise<void> {
        await tokens.logOut()
    }

    /** Store changed preferences on the server. They apply at once, and are taken back if the call fails. */
    async function savePreferences(changed: Partial<Preferences>): Promise<void> {
        if (user.value === null) return
        const before = user.value
        const update = preferencesUpdate(changed)
        const change = ++changes
        user.value = { ...before, preferences: { ...before.preferences, ...update } }
        try {
            const stored = await updatePreferences({ body: update })
            // The response to an earlier one of several quick changes does not contain the later ones.
            if (change === changes && user.value !== null) user.value = { ...user.value, preferences: stored }
        } catch (error) {
            if (change === changes && user.value !== null)
                user.value = { ...user.value, preferences: before.preferences }
            throw error
        }
    }

    tokens.onSessionStart(() => void restore().catch(() => undefined))
    tokens.onSessionEnd((reason) => {
        endReason.value = reason
        user.value = null
        // An expired login is continued by the same account.
        if (reason === 'logout') removeBrowserData()
    })

    return { user, isAdmin, preferences, endReason, lastUserId, erasure, restore, logIn, logOut, savePreferences }
})
