// An OpenID provider of one client. Arguments: its port, the client's id, secret and redirect URI. Whoever signs
// in as NAME, by its own development pages, has the address NAME@example.com.
import { createServer } from "node:http";
import * as oidc from "oidc-provider";

const [port, id, secret, redirect] = process.argv.slice(2);
const Provider = oidc.Provider ?? oidc.default;
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: id, client_secret: secret, redirect_uris: [redirect] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  pkce: { required: () => true },
  findAccount: (context, name) => ({
    accountId: name,
    claims: () => ({ sub: name, name: `The ${name}`, email: `${name}@example.com`, email_verified: true }),
  }),
});
createServer(provider.callback()).listen(Number(port), "127.0.0.1", () => console.log("provides"));
