// Requests beside the stream. Each fails with the server's own sentence.

export async function get(path: string, parameters: Record<string, string | undefined>, signal?: AbortSignal): Promise<Response> {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) if (value !== undefined) query.set(key, value);
  let response: Response;
  try {
    response = await fetch(`/api/${path}?${query}`, { signal: signal ?? null, credentials: "omit" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("The dashboard does not answer. Check that the tunnel is open.");
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = `The dashboard answered with status ${response.status}.`;
  try {
    message = (JSON.parse(text) as { error?: string }).error ?? message;
  } catch {
    // Not JSON: the status is all there is.
  }
  throw new Error(message);
}

export async function getJson<T>(path: string, parameters: Record<string, string | undefined>, signal?: AbortSignal): Promise<T> {
  return (await (await get(path, parameters, signal)).json()) as T;
}

export const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
