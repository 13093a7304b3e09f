// Requests to the server that served this page; there are no others.

export class Refused extends Error {}

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused("the viewer does not answer; is it still running?");
  }
  if (answer.ok) return answer;
  let message = `the viewer answered ${answer.status}`;
  try { message = (await answer.json()).error ?? message; } catch { /* no JSON: keep the number */ }
  const refused = new Refused(message);
  refused.status = answer.status;
  throw refused;
}

export const json = async (path, options) => (await ask(path, options)).json();
export const floats = async (path) => new Float32Array(await (await ask(path)).arrayBuffer());
export const bytes = async (path) => new Uint8Array(await (await ask(path)).arrayBuffer());

export const upload = (file) => json("/api/images", {
  method: "POST", body: file,
  headers: { "Content-Type": "application/octet-stream", "X-File-Name": encodeURIComponent(file.name.slice(-200)) },
});
