// A certified provider of OpenID Connect for the stories of the log-in. Its own pages for developers
// take any name and password; the name decides what is said of the person.
//
//   node provider.mjs PORT CLIENT-ID CLIENT-SECRET REDIRECT-URL
import { Provider } from "oidc-provider";

const [port, id, secret, redirect] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: id, client_secret: secret, redirect_uris: [redirect] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"], profile: ["name"] },
  conformIdTokenClaims: false,
  cookies: { keys: ["only for stories"] },
  pkce: { required: () => true },
  findAccount: (context, sub) => ({
    accountId: sub,
    claims: () => ({
      sub,
      email: `${sub}@example.com`,
      email_verified: sub !== "unverified",
      groups: [`${sub}-team`],
    }),
  }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
