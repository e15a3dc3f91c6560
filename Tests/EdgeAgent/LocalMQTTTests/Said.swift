/// What a mutating call gave: `#expect` itself takes no mutating calls.
func said<Answer>(_ call: () -> Answer) -> Answer { call() }
