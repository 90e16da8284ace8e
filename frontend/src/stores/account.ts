// The logged-in account: login, logout, profile, and preferences that are kept on the server.

import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { me, updateProfile, type UserResponse } from '@/api/generated/auth'
import * as tokens from '@/api/tokens'
import { parsePreferences, type Preferences } from './preferences'

export const useAccount = defineStore('account', () => {
    const user = ref<UserResponse | null>(null)
    const isAdmin = computed(() => user.value?.role === 'admin')
    const preferences = computed(() => parsePreferences(user.value?.preferences))

    /** Load the account if this browser is logged in. Transient failures are thrown. */
    async function restore(): Promise<void> {
        if (user.value === null && (await tokens.accessToken()) !== null) user.value = await me()
    }

    async function logIn(username: string, password: string): Promise<void> {
        await tokens.logIn(username, password)
        user.value = await me()
    }

    async function logOut(everywhere = false): Promise<void> {
        await tokens.logOut(everywhere)
    }

    /** Store changed preferences on the server. They apply at once, and are taken back if the call fails. */
    async function savePreferences(changes: Partial<Preferences>): Promise<void> {
        if (user.value === null) return
        const before = user.value
        const changed = { ...before.preferences, ...changes }
        user.value = { ...before, preferences: changed }
        try {
            user.value = await updateProfile({ body: { preferences: changed } })
        } catch (error) {
            user.value = before
            throw error
        }
    }

    tokens.onSessionEnd(() => {
        user.value = null
    })

    return { user, isAdmin, preferences, restore, logIn, logOut, savePreferences }
})
