export declare const groups: Readonly<
  Record<string, { readonly files: ReadonlyArray<string>; readonly tests: ReadonlyArray<string> }>
>
