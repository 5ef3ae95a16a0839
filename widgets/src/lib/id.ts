/** A fresh id of 128 random bits; `crypto.randomUUID` does not exist on a plain-http JupyterLab. */
export function mint(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
