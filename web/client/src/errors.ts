import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";
import { ViolationsSchema } from "./gen/buf/validate/validate_pb.js";
import { ErrorReason } from "./gen/usher/v1/errors_pb.js";

/** Why the server refused something: the closed set of errors.proto, without its prefix. */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED">;

/** A field of a request that breaks a rule of the contract. */
export interface FieldViolation {
  /** Path of the field, such as "display_name" or "room.name". */
  field: string;
  message: string;
}

/**
 * What every call of this package throws. Branch on `reason`, never on `message`: the message is English, for logs, and may
 * change.
 */
export class UsherError extends ConnectError {
  /** Why the server refused. Undefined when the answer did not come from Usher, or Usher has no more to say. */
  readonly reason: Reason | undefined;
  /** What the reason is about, such as { required_role: "OWNER" }: errors.proto documents it for each reason. */
  readonly about: Readonly<Record<string, string>>;
  /** The fields to blame, with reason INVALID_REQUEST. */
  readonly violations: readonly FieldViolation[];
  /** Milliseconds after which repeating the call is of use, when the server said so. */
  readonly retryAfter: number | undefined;

  private constructor(of: ConnectError) {
    // Its name stays "ConnectError", by which connect knows its own.
    super(of.rawMessage, of.code, of.metadata, undefined, of.cause);
    this.details = of.details;
    const info = errorInfo(of);
    this.reason = info && isReason(info.reason) ? info.reason : undefined;
    this.about = info?.metadata ?? {};
    this.violations = violations(of);
    this.retryAfter = retryDelay(of) ?? retryAfterHeader(of.metadata);
  }

  /** Any thrown value as an UsherError. */
  static override from(thrown: unknown): UsherError {
    return thrown instanceof UsherError ? thrown : new UsherError(ConnectError.from(thrown));
  }

  /** Without this, ConnectError would take every one of its own for an UsherError. */
  static override [Symbol.hasInstance](v: unknown): boolean {
    return v instanceof Error && Object.prototype.isPrototypeOf.call(UsherError.prototype, v);
  }

  /** The caller's own signal ended the call. */
  get aborted(): boolean {
    return this.code === Code.Canceled;
  }

  /** No answer came: the server is down, or this machine is offline. */
  get unreachable(): boolean {
    return this.reason === undefined && (this.cause instanceof TypeError || this.code === Code.Unavailable);
  }

  /** Whether the same call may succeed later, without anything being changed. */
  get temporary(): boolean {
    return this.unreachable || temporaryCodes.has(this.code);
  }
}

const temporaryCodes = new Set([Code.Unavailable, Code.DeadlineExceeded, Code.ResourceExhausted, Code.Aborted]);

function isReason(s: string): s is Reason {
  return s !== "UNSPECIFIED" && s in ErrorReason && Number.isNaN(Number(s));
}

/** The bytes of the details of one type. */
function* detailsOf(of: ConnectError, type: string): Generator<Uint8Array> {
  for (const detail of of.details) {
    if ("type" in detail && detail.type === type) yield detail.value;
  }
}

/** google.rpc.ErrorInfo, read by hand: two strings and a map are not worth another generated file. */
function errorInfo(of: ConnectError): { reason: string; metadata: Record<string, string> } | undefined {
  for (const bytes of detailsOf(of, "google.rpc.ErrorInfo")) {
    const info = { reason: "", domain: "", metadata: {} as Record<string, string> };
    readFields(bytes, (field, reader) => {
      if (field === 1) info.reason = reader.string();
      else if (field === 2) info.domain = reader.string();
      else if (field === 3) {
        const entry = { key: "", value: "" };
        readFields(reader.bytes(), (f, r) => {
          if (f === 1) entry.key = r.string();
          else if (f === 2) entry.value = r.string();
          else return false;
          return true;
        });
        info.metadata[entry.key] = entry.value;
      } else return false;
      return true;
    });
    if (info.domain === "usher") return info;
  }
  return undefined;
}

/** google.rpc.RetryInfo, in milliseconds. */
function retryDelay(of: ConnectError): number | undefined {
  for (const bytes of detailsOf(of, "google.rpc.RetryInfo")) {
    let ms: number | undefined;
    readFields(bytes, (field, reader) => {
      if (field !== 1) return false;
      ms = 0;
      readFields(reader.bytes(), (f, r) => {
        if (f === 1) ms = (ms ?? 0) + Number(r.int64()) * 1000;
        else if (f === 2) ms = (ms ?? 0) + r.int32() / 1e6;
        else return false;
        return true;
      });
      return true;
    });
    if (ms !== undefined) return ms;
  }
  return undefined;
}

function retryAfterHeader(headers: Headers): number | undefined {
  const seconds = Number.parseInt(headers.get("Retry-After") ?? "", 10);
  return Number.isNaN(seconds) ? undefined : seconds * 1000;
}

function violations(of: ConnectError): FieldViolation[] {
  const found: FieldViolation[] = [];
  for (const bytes of detailsOf(of, "buf.validate.Violations")) {
    for (const v of fromBinary(ViolationsSchema, bytes).violations) {
      found.push({ field: (v.field?.elements ?? []).map((e) => e.fieldName).join("."), message: v.message });
    }
  }
  return found;
}

/** Calls read for every field, and skips those that it does not want. */
function readFields(bytes: Uint8Array, read: (field: number, reader: BinaryReader) => boolean): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (type === WireType.EndGroup || !read(field, reader)) reader.skip(type, field);
  }
}
