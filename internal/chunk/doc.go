// Package chunk is the experimental chunk transport: a long answer in bounded
// stanzas, pushed under a window of credits or pulled page by page, that other
// stanzas interleave with and that can go on after the connection was lost.
//
// It holds the elements of [wire.NSChunk] as parsed and as written, the two
// state machines ([Sender] and [Receiver]) and the resume point ([Cursor]). It
// moves no bytes itself and knows nothing of what is carried: a wrapped protocol
// such as the chunked roster builds the payload and posts the stanzas.
package chunk
