import { defineConfig } from '@hey-api/openapi-ts'

// Types and calls of the three services, from the OpenAPI documents that the services' tests keep up to date.
export default defineConfig(
    ['auth', 'chat', 'admin'].map((service) => ({
        input: `../docs/openapi/${service}.json`,
        output: { path: `src/api/generated/${service}`, clean: true },
        plugins: [
            { name: '@hey-api/client-fetch', throwOnError: true, runtimeConfigPath: './src/api/clientConfig.ts' },
            '@hey-api/typescript',
            { name: '@hey-api/sdk', responseStyle: 'data' },
        ],
    })),
)
