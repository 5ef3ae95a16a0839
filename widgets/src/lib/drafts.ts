/** Text that is being written, kept by the browser until it is stored; it outlives page, tab and kernel. */
export class DraftStore {
  private memory = new Map<string, string>();

  constructor(private name: string, private storage: Storage | null) {}

  read(key: string): string | null {
    return this.memory.get(key) ?? this.storage?.getItem(this.place(key)) ?? null;
  }

  write(key: string, text: string): void {
    this.memory.set(key, text);
    try {
      this.storage?.setItem(this.place(key), text);
    } catch { // storage full or forbidden: it lives as long as the page
      this.storage?.removeItem(this.place(key));
    }
  }

  drop(key: string): void {
    this.memory.delete(key);
    this.storage?.removeItem(this.place(key));
  }

  private place(key: string): string {
    return `ftlab:draft:${this.name}:${key}`;
  }
}
