import js from '@eslint/js'
import vue from 'eslint-plugin-vue'
import typescript from 'typescript-eslint'

export default typescript.config(
    { ignores: ['dist', 'src/api/generated', 'src/types'] },
    js.configs.recommended,
    ...typescript.configs.strict,
    ...vue.configs['flat/recommended'],
    {
        files: ['**/*.vue'],
        languageOptions: { parserOptions: { parser: typescript.parser } },
    },
    {
        files: ['**/*.{ts,vue}'],
        rules: {
            'max-lines': ['error', { max: 250 }],
            // TypeScript checks this, and knows the types of the browser.
            'no-undef': 'off',
            // Text is shown as HTML in one place only, by the sanitizer's DOM: components/chat/MarkdownText.vue.
            'vue/no-v-html': 'error',
            // The style of the templates is the formatter's.
            'vue/html-self-closing': 'off',
            'vue/max-attributes-per-line': 'off',
            'vue/singleline-html-element-content-newline': 'off',
            'vue/html-indent': 'off',
            'vue/html-closing-bracket-newline': 'off',
            'vue/first-attribute-linebreak': 'off',
            'vue/multiline-html-element-content-newline': 'off',
        },
    },
)
