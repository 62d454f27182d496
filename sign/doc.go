// Package sign is the grammar of imgkeep's links and their weekly signatures.
//
// A link is a path:
//
//	/{bucket}/{size}/{signature}/{ext_url}{extension}
//
// where ext_url is the image's URL in base64url (RFC 4648, section 5; padding
// may be left out), extension is empty or "/proxy", and signature is the
// base64url of the first 12 bytes of
//
//	HMAC-SHA256(secret + year + week, bucket + "/" + ext_url + extension)
//
// where year is the four digits of the ISO 8601 year and week the two of its week, so that
// 2027-01-01 belongs to 202653. The message is signed as it stands in the path: nothing is
// decoded before the signature is verified. The size is not signed: one signature is valid
// for every size that the server lists.
//
// A link lives in the week in which it was signed and in the following ones, two in all by
// default. A link of the coming week is accepted ten minutes early, because clocks differ.
//
// What this package promises: a Signer verifies what it signs, until the very end of the
// link's last week; links of an older release, or of any other program that follows this
// format, stay valid.
//
// What it does not do: it knows neither which buckets and sizes exist nor whether a URL may
// be fetched. It keeps no state and reads no clock: every call gets the time as an
// argument. It imports only the standard library.
package sign
