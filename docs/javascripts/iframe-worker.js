// Browsers start no worker for a page that was opened from disk, and the search needs one. This
// runs the script of the worker in a hidden frame instead. The offline plugin of Zensical would
// load a script of this name from another host.
if (location.protocol === "file:") {
  const send = (message, receive) => {
    const data = structuredClone(message);
    setTimeout(() => receive({ data }));
  };
  window.Worker = class {
    constructor(address) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      document.body.append(this.frame);
      const inner = this.frame.contentWindow;
      // As between workers, messages are copies that arrive later.
      inner.postMessage = (data) => send(data, (event) => this.onmessage?.(event));
      this.loaded = new Promise((resolve, reject) => {
        const script = inner.document.createElement("script");
        script.src = new URL(address, location.href).href;
        script.onload = () => resolve(inner);
        script.onerror = reject;
        inner.document.body.append(script);
      });
      this.loaded.catch((error) => this.onerror?.(error));
    }
    postMessage(data) {
      this.loaded.then((inner) => send(data, (event) => inner.onmessage(event)));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
