/**
 * The face for a project's `holdfast.config.ts`.
 *
 * @since 0.1.0
 */
export { type Config, define } from "./cli/Config.js"
