// A request that cannot be met: its message is one line for people.
export class Problem extends Error {
  constructor(detail, status = 0, retryAfter = 0) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}
