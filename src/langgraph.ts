/**
 * What stands on LangGraph. It needs `@langchain/langgraph` and `@langchain/core` beside it.
 *
 * @since 0.1.0
 */

/**
 * LangGraph's checkpoint saver on any `SqlClient`.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Checkpointer from "./checkpoint/Checkpointer.js"
/**
 * How a graph's state becomes bytes.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Serializer from "./checkpoint/Serializer.js"
/**
 * Agents as nodes of a LangGraph graph, with pause, resume and routing on failure.
 *
 * @since 0.1.0
 * @category modules
 */
export * as Graph from "./graph/Graph.js"
