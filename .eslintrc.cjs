// The rules of this repository. ESLint 10 reads them through tools/eslint.config.mjs (docs/decisions/0006).
const clock = [
  { object: 'Date', property: 'now', message: 'inject a Clock' },
  { object: 'Math', property: 'random', message: 'inject an Rng' },
];
const noBareDate = {
  selector: 'NewExpression[callee.name="Date"][arguments.length=0]',
  message: 'inject a Clock',
};

module.exports = {
  root: true,
  parser: '@typescript-eslint/parser',
  parserOptions: { project: ['tsconfig.json', 'src/report/page/tsconfig.json'], tsconfigRootDir: __dirname },
  plugins: ['@typescript-eslint'],
  extends: [
    'eslint:recommended',
    'plugin:@typescript-eslint/strict-type-checked',
    'plugin:@typescript-eslint/stylistic-type-checked',
    'prettier',
  ],
  rules: {
    'no-console': 'error',
    eqeqeq: 'error',
    'max-lines': ['error', { max: 250, skipBlankLines: true, skipComments: true }],
    'max-params': ['error', 5],
    complexity: ['error', 14],
    'max-depth': ['error', 3],
    'no-restricted-exports': ['error', { restrictDefaultExports: { direct: true } }],
    '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    '@typescript-eslint/only-throw-error': 'error',
    '@typescript-eslint/consistent-type-imports': 'error',
    '@typescript-eslint/explicit-module-boundary-types': 'error',
    '@typescript-eslint/promise-function-async': 'error',
    '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
    '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
    // Its counterpart, a non-null assertion, says less than a type.
    '@typescript-eslint/non-nullable-type-assertion-style': 'off',
    '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
  },
  overrides: [
    {
      files: ['src/core/**'],
      rules: {
        'no-restricted-imports': [
          'error',
          {
            patterns: [
              {
                group: [
                  'node:*',
                  '**/config/**',
                  '**/parallel/**',
                  '**/study/**',
                  '**/remote/**',
                  '**/engines/**',
                  '**/benchmarks/**',
                  '**/runs/**',
                  '**/report/**',
                  '**/ui/**',
                  '**/cli/**',
                ],
                message: 'core is pure and knows only base',
              },
            ],
          },
        ],
        'no-restricted-globals': ['error', 'setTimeout', 'setInterval', 'process', 'fetch', 'console'],
        'no-restricted-properties': ['error', ...clock],
        'no-restricted-syntax': [
          'error',
          noBareDate,
          { selector: 'AwaitExpression', message: 'core is synchronous' },
        ],
      },
    },
    {
      files: ['src/parallel/**', 'src/study/**'],
      rules: {
        'no-restricted-imports': [
          'error',
          {
            patterns: [
              {
                group: [
                  'node:*',
                  'ssh2',
                  'undici',
                  '**/remote/**',
                  '**/engines/**',
                  '**/benchmarks/**',
                  '**/runs/**',
                  '**/report/**',
                  '**/ui/**',
                  '**/cli/**',
                ],
                message: 'talk to the ports of parallel/ports.ts',
              },
            ],
          },
        ],
        'no-restricted-properties': ['error', ...clock],
        'no-restricted-syntax': ['error', noBareDate],
        'no-restricted-globals': ['error', 'setTimeout', 'setInterval', 'process', 'fetch'],
      },
    },
    { files: ['src/cli/**', 'src/ui/**', 'bench/**'], rules: { 'no-console': 'off' } },
    {
      files: ['test/**', 'bench/**', '*.config.ts'],
      rules: {
        'max-lines': 'off',
        'no-console': 'off',
        'no-restricted-exports': 'off',
        'no-restricted-properties': [
          'error',
          { object: 'vi', property: 'mock', message: 'test at the protocol' },
        ],
        complexity: 'off',
        'max-params': 'off',
        '@typescript-eslint/no-unsafe-member-access': 'off',
        '@typescript-eslint/no-unsafe-argument': 'off',
        '@typescript-eslint/no-unsafe-assignment': 'off',
        '@typescript-eslint/no-unsafe-call': 'off',
        '@typescript-eslint/no-unsafe-return': 'off',
        '@typescript-eslint/no-confusing-void-expression': 'off',
        '@typescript-eslint/no-non-null-assertion': 'off',
        '@typescript-eslint/explicit-module-boundary-types': 'off',
      },
    },
  ],
};
