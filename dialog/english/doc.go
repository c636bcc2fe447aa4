/*
Package english finds numbers, yes and no, and choices in what people write in
English. It is what the prompts of package dialog understand unless they are
given a recogniser of their own, and can be a part of such a one:

	n, ok := english.Number("I am forty-two.") // 42, true

It follows the recognisers of the JavaScript SDK, so that a user may answer a
bot in either language alike. The functions are safe for concurrent use, and take
any text: none is too long, and none has to be UTF-8.
*/
package english
